"""Issuing: the record of one issuance, the steps to a certificate, and what finishes or rolls them back. No AWS."""
