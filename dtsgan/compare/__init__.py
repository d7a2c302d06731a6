"""Methods of dynamic texture synthesis, compared: the paper's tables on any clips, and the videos themselves.

    from dtsgan.compare import Settings, compare
    report = compare(["flag.mp4", "fire.mp4"], "report", methods=["lds", "dtsgan_fast"], seeds=[0, 1])
    report.page    # one page with the tables and all videos; results.jsonl holds every number

A cell is one method on one clip with one seed. It runs in a process of its own, so its memory is its own and
a crash costs no other; it is written down when it ends, so what is killed goes on where it was.
"""

from dtsgan.compare.folder import QUICK, ReportDir, Settings
from dtsgan.compare.running import compare, write_report

__all__ = ["QUICK", "ReportDir", "Settings", "compare", "write_report"]
