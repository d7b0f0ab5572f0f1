"""What an adapter's author and a test need: the conformance kit, and stores that fail on purpose."""

from whisperkit.testing.conformance import Conformance, Lab, LawBrokenError, NotApplicable, Report, run_conformance
from whisperkit.testing.conformance_blobs import BLOB_CHECKS, BlobBytesConformance
from whisperkit.testing.conformance_directory import DIRECTORY_CHECKS, DirectoryConformance, DirectoryInTime
from whisperkit.testing.conformance_jobs import JOB_CHECKS, JobLogConformance, JobsInTime
from whisperkit.testing.conformance_marks import MARK_CHECKS, MarkStoreConformance
from whisperkit.testing.conformance_partitions import PARTITION_CHECKS, PartitionStoreConformance
from whisperkit.testing.faulty import Crashed, Fault, FaultyPartitions, StoreCall
from whisperkit.testing.stepwise import Stepwise

__all__ = [
    "BLOB_CHECKS",
    "DIRECTORY_CHECKS",
    "JOB_CHECKS",
    "MARK_CHECKS",
    "PARTITION_CHECKS",
    "BlobBytesConformance",
    "Conformance",
    "Crashed",
    "DirectoryConformance",
    "DirectoryInTime",
    "Fault",
    "FaultyPartitions",
    "JobLogConformance",
    "JobsInTime",
    "Lab",
    "LawBrokenError",
    "MarkStoreConformance",
    "NotApplicable",
    "PartitionStoreConformance",
    "Report",
    "Stepwise",
    "StoreCall",
    "run_conformance",
]
