"""The file plane: large files go straight to the object store and back, by URLs that are signed."""
