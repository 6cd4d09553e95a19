"""The pipeline on Kubeflow Pipelines: compiled, submitted, and what runs in its containers."""
