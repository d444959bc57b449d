"""The inference plane: embeddings, models and health over HTTP."""
