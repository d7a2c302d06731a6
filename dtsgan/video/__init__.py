"""File <-> clip. The only room that meets codecs and uint8.

A clip is `(B, C, T, H, W)`, float32, in [-1, 1]. PyAV takes and gives video frames one by one and exactly;
Pillow reads pictures, moving or not.
"""

from dtsgan.video.pixels import from_uint8, to_uint8
from dtsgan.video.reading import VideoInfo, probe, read_alpha, read_clip, read_picture
from dtsgan.video.sheets import contact_sheet, side_by_side, write_contact_sheet, xt_slice
from dtsgan.video.writing import VideoWriter, encode_jpeg, write_clip

__all__ = [
    "VideoInfo",
    "VideoWriter",
    "contact_sheet",
    "encode_jpeg",
    "from_uint8",
    "probe",
    "read_alpha",
    "read_clip",
    "read_picture",
    "side_by_side",
    "to_uint8",
    "write_clip",
    "write_contact_sheet",
    "xt_slice",
]
