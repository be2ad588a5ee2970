"""The discretised atlas of a video: model, mapping, quality, and conversion of the published networks."""
