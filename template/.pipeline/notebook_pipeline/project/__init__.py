"""params.yaml, dvc.yaml and dvc.lock: read, and edited byte for byte. Knows nothing of kernels."""
