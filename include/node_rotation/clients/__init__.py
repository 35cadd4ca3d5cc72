"""The only code that knows boto3 and the Kubernetes API."""
