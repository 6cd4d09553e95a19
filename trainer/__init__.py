"""Everything that defines the model: features, preprocessing, backbones, phases, exported signatures."""
