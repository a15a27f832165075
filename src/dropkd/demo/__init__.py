"""The bundled images and teacher, and the demo that uses them."""
