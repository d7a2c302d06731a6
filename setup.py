"""What pyproject.toml cannot say: the textures of weights/, beside the package, go into a wheel inside it."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithWeights(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # which finds them where they are
            return
        target = Path(self.build_lib, "dtsgan", "weights")
        self.mkpath(str(target))
        self.copy_file(
            "weights/README.md", str(target)
        )  # so that the folder is there without any texture too
        for config in sorted(Path("weights").glob("*/config.json")):
            self.copy_tree(str(config.parent), str(target / config.parent.name))


setup(cmdclass={"build_py": BuildWithWeights})
