sitegen.data("evidence/7",{"feature_id":7,"near_misses":[],"ablation":{"context":[],"offset":[],"loss_change":[],"promoted_id":[],"promoted_change":[],"suppressed_id":[],"suppressed_change":[]}});
