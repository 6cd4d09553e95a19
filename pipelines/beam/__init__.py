"""How the Beam pipelines of the steps run: in the step's process, or on an Apache Flink cluster."""
