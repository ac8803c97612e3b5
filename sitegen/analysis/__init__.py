"""From a sweep's state to records: contexts, similar features, losses, logit effects, and evidence for each feature."""
