"""The page as a Hugging Face Space runs it, and `python app.py`."""

from dtsgan.ui.app import build_app, launch

if __name__ == "__main__":
    launch(build_app())
