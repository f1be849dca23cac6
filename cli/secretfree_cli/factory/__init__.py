"""The factory bench: devices that give id and public key over a UART, a scanner or a picture of a code."""
