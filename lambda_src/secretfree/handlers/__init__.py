"""Lambda entry points: parse, call, map.

In Lambda, the garbage collector is off from here until `entry.begin_collecting`, which each module with a handler
calls. What the imports make lives as long as the process. A search for garbage among it takes 5 % of a cold start.
"""

import gc
import os

if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    gc.disable()
