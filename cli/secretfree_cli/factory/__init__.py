"""The factory bench: reads id and public key of devices from a UART, a scanner or a picture of a code."""
