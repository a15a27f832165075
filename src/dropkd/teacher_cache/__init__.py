"""A teacher's answers, computed once and kept."""

from dropkd.teacher_cache.building import CacheFullError, Questions, build_cache, build_shard
from dropkd.teacher_cache.choosing import Choice, Source, choose_sources
from dropkd.teacher_cache.encoding import Encoding, Part
from dropkd.teacher_cache.folder import CacheFolder, Shard, cache_root, list_caches
from dropkd.teacher_cache.key import CacheKey
from dropkd.teacher_cache.reading import CacheReader, JointReader

__all__ = [
    "CacheFolder",
    "CacheFullError",
    "CacheKey",
    "CacheReader",
    "Choice",
    "Encoding",
    "JointReader",
    "Part",
    "Questions",
    "Shard",
    "Source",
    "build_cache",
    "build_shard",
    "cache_root",
    "choose_sources",
    "list_caches",
]
