"""Issuing: the record of one issuance, the steps to a certificate, and how they are finished or rolled back. No AWS."""
