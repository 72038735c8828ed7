"""Bytes in a bucket: knows no job. Two backends, obstore and boto3, behind one class."""
