"""The gateway of the CRM: client, schemas, retry and mapping of its errors."""
