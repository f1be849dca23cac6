"""The device's side: its key, its certificate signing request, its certificate, and MQTT with it.

Nothing here runs in the cloud or needs AWS credentials. A device uses its key only.
"""
