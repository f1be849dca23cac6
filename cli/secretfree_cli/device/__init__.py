"""The device's side: its key, its certificate signing request, its certificate, and MQTT.

Nothing here runs in the cloud or needs AWS credentials. A device uses only its key.
"""
