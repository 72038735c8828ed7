"""What models say of changed images: studies of rows that are explained already."""
