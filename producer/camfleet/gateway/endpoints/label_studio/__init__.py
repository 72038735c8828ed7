"""The endpoints of Label Studio's ML backend."""
