"""Frames out of folders of images and video files, local or remote: what is read is exactly what was asked.

    for frame in read_frames("s3://bucket/clip.mp4", Selection(step=5)):
        frame.index, frame.name, frame.image

Frames are numbered in presentation order, which is the order of a full sequential decode. Reading never seeks: random
access returns other frames than asked for on files with edit lists or open groups of pictures.
"""

from pipeline.video.reading import DECODERS, FILE_SUFFIXES, LastFile, probe, read_frames
from pipeline.video.types import Frame, Selection, VideoHeader

__all__ = ["DECODERS", "FILE_SUFFIXES", "Frame", "LastFile", "Selection", "VideoHeader", "probe", "read_frames"]
