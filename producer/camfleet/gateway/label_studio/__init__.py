"""What Label Studio's ML backend is asked, and what of it is planned and kept."""
