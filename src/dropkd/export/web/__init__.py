"""A folder with one page that asks an exported student in the visitor's own browser."""

from dropkd.export.web.folder import MODEL_FILE, read_model, write_folder

__all__ = ["MODEL_FILE", "read_model", "write_folder"]
