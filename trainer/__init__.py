"""Everything that defines the model: features, preprocessing, backbones, training phases, exported signatures."""
