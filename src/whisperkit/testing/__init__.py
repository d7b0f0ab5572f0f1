"""What an adapter's author and a test need: the conformance kit, and stores that fail on purpose."""

from whisperkit.testing.conformance import Conformance, Lab, LawBrokenError, NotApplicable, Report, run_conformance
from whisperkit.testing.conformance_partitions import PARTITION_CHECKS, PartitionStoreConformance
from whisperkit.testing.faulty import Crashed, Fault, FaultyPartitions, StoreCall
from whisperkit.testing.stepwise import Stepwise

__all__ = [
    "PARTITION_CHECKS",
    "Conformance",
    "Crashed",
    "Fault",
    "FaultyPartitions",
    "Lab",
    "LawBrokenError",
    "NotApplicable",
    "PartitionStoreConformance",
    "Report",
    "Stepwise",
    "StoreCall",
    "run_conformance",
]
