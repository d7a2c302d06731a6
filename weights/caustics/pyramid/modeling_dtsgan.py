from dtsgan.diffusers_pipeline import DTSGANPyramid  # noqa: F401
