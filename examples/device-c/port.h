/* What a board provides. port_posix.c is the one for Linux; write another for yours and leave the rest alone. */
#ifndef PORT_H
#define PORT_H

#include <mbedtls/pk.h>
#include <stddef.h>
#include <stdint.h>

enum { SLOTS = 2 };

struct settings {
    const char *device_id;                   /* the UDID: common name of the CSR */
    const char *api_host, *api_port;         /* of the provisioning API */
    const char *api_path;                    /* base path, such as "/prod" */
    const char *api_roots, *broker_roots;    /* PEM, several roots one after the other */
    const char *topic_prefix;                /* of the product line */
    const char *broker_host, *broker_port;   /* NULL: the endpoint of the answer, port 8883 */
};

const struct settings *port_settings(void);

/* Key: the device's own, from flash, or opaque in a secure element (mbedtls_pk_setup_opaque). 0 on success. */
int port_key(mbedtls_pk_context *key);

/* Random: bytes of a hardware source, in the form that Mbed TLS takes. 0 on success. */
int port_random(void *context, unsigned char *bytes, size_t length);

/* Storage: SLOTS areas of flash. A write may be torn by a power cut; the device notices. 0 on success. */
int port_read_slot(int slot, void *data, size_t length);
int port_write_slot(int slot, const void *data, size_t length);

/* Clock: seconds since 1970, or 0 while the clock is not set. */
int64_t port_now(void);

/* Wait. Anything but 0 ends the program, which a board never does. */
int port_wait(uint32_t seconds);

/* One line for the log. It never holds a key or a CSR. */
void port_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
