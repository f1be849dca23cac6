"""The bench and the line: devices that tell their id and public key over a UART, a scanner or a picture of a code."""
