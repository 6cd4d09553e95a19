"""`make kubeflow-check`: every step of the compiled pipeline, in its container, on this machine."""
