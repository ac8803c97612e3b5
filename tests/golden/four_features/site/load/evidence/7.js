sitegen.data.evidence({"feature_id":7,"near_misses":[],"ablation":[]});
