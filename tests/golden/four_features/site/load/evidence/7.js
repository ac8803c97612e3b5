sitegen.data("evidence/7",{"context":[],"offset":[],"loss_change":[],"promoted_id":[],"promoted_change":[],"suppressed_id":[],"suppressed_change":[]});
