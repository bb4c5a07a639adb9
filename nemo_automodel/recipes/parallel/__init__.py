"""The section `parallel`: one model over several processes, by tensors, experts, stages, sequences and batches."""
