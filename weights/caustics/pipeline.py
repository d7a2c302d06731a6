from dtsgan.diffusers_pipeline import DTSGANPipeline  # noqa: F401
