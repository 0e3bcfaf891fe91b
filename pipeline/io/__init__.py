"""Files and folders, local or on S3: storage, the manifest, output folders."""
