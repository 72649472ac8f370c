"""From a video file to clip features: decode, sample, preprocess, encode; and cutting, the network, a cache."""
