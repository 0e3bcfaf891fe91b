"""Read objects on S3. All requests of one reader see one version of the object, or raise ReplacedError."""
