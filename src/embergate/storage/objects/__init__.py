"""Files of any size under keys: on a local disk, or in a bucket."""
