"""The training engine: step, schedule, checkpoint, resume, selection, logging. It knows nothing of any one method."""
