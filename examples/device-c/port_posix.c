/* The port for Linux: the key and two slots are files, the settings come from the environment. */
#include "port.h"
#include <errno.h>
#include <fcntl.h>
#include <mbedtls/version.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST_ROOTS = 16384, LARGEST_PATH = 512 };

static const char *required(const char *name)
{
    const char *value = getenv(name);

    if (value == NULL) {
        fprintf(stderr, "%s is not set\n", name);
        exit(1);
    }
    return value;
}

static const char *text_of(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t length = file == NULL ? 0 : fread(text, 1, size - 1, file);

    if (file != NULL)
        fclose(file);
    text[length] = 0;
    return text;
}

const struct settings *port_settings(void)
{
    static char api_roots[LARGEST_ROOTS], broker_roots[LARGEST_ROOTS];
    static struct settings settings;

    if (settings.device_id == NULL) {
        settings.device_id = required("DEVICE_ID");
        settings.api_host = required("API_HOST");
        settings.api_port = required("API_PORT");
        settings.api_path = required("API_PATH");
        settings.api_roots = text_of(required("API_ROOTS"), api_roots, sizeof api_roots);
        settings.broker_roots = text_of(required("BROKER_ROOTS"), broker_roots, sizeof broker_roots);
        settings.topic_prefix = required("TOPIC_PREFIX");
        settings.broker_host = getenv("BROKER_HOST");
        settings.broker_port = getenv("BROKER_PORT");
    }
    return &settings;
}

int port_key(mbedtls_pk_context *key)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_parse_keyfile(key, required("KEY_FILE"), NULL, port_random, NULL);
#else
    return mbedtls_pk_parse_keyfile(key, required("KEY_FILE"), NULL);
#endif
}

int port_random(void *context, unsigned char *bytes, size_t length)
{
    (void)context;
    while (length > 0) {
        ssize_t got = getrandom(bytes, length, 0);
        if (got < 0 && errno != EINTR)
            return -1;
        bytes += got > 0 ? got : 0;
        length -= got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static void path_of(int slot, char *path)
{
    snprintf(path, LARGEST_PATH, "%s/slot-%d", required("SLOTS_FOLDER"), slot);
}

int port_read_slot(int slot, void *data, size_t length)
{
    char path[LARGEST_PATH];
    FILE *file;
    size_t got;

    path_of(slot, path);
    if ((file = fopen(path, "rb")) == NULL)
        return -1;
    got = fread(data, 1, length, file);
    fclose(file);
    return got == length ? 0 : -1;
}

int port_write_slot(int slot, const void *data, size_t length)
{
    char path[LARGEST_PATH];
    int file, failed;

    path_of(slot, path);
    if ((file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600)) < 0)
        return -1;
    failed = write(file, data, length) != (ssize_t)length || fsync(file) != 0;
    return close(file) != 0 || failed ? -1 : 0;
}

int64_t port_now(void)
{
    const char *now = getenv("CLOCK"); /* for tests: another time, or 0 */

    return now != NULL ? (int64_t)atoll(now) : (int64_t)time(NULL);
}

int port_wait(uint32_t seconds)
{
    const char *longest = getenv("LONGEST_WAIT"); /* for tests: what would wait longer ends */

    if (seconds > 0)
        port_log("wait %u", (unsigned)seconds);
    if (longest != NULL && seconds > (uint32_t)atol(longest))
        return 1;
    while (seconds > 0)
        seconds = sleep(seconds);
    return 0;
}

void port_log(const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
}
