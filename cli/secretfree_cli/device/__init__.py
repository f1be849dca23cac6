"""The device's side of the wire: a key of its own, its signing request, the certificate it gets, and MQTT with it.

Nothing here runs in the cloud, and nothing here needs AWS credentials: what a device does, it does with its key alone.
"""
