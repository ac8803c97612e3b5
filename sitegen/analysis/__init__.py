"""From a sweep's state to records: which contexts are shown, what stands in them, what features do to the logits."""
