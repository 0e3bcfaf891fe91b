"""Read frames from folders of images and from video files, local or remote.

    for frame in read_frames("s3://bucket/clip.mp4", Selection(step=5)):
        frame.index, frame.name, frame.image

Frames are numbered in presentation order, the order of a full sequential decode. Reading never seeks: random access
returns wrong frames for files with edit lists or open groups of pictures.
"""

from pipeline.video.reading import DECODERS, FILE_SUFFIXES, LastFile, probe, read_frames
from pipeline.video.types import Frame, LeftOut, Selection, VideoHeader

__all__ = [
    "DECODERS",
    "FILE_SUFFIXES",
    "Frame",
    "LastFile",
    "LeftOut",
    "Selection",
    "VideoHeader",
    "probe",
    "read_frames",
]
