/* MQTT 3.1.1 by mutual TLS: as much as one message with QoS 1 takes (OASIS MQTT 3.1.1, sections 3.1 to 3.4, 3.14). */
#include "device.h"
#include <stdio.h>
#include <string.h>

enum { LARGEST_PACKET = 1024, KEEP_ALIVE_SECONDS = 60 };

struct packet {
    unsigned char bytes[LARGEST_PACKET];
    size_t length;
};

static void add(struct packet *packet, const void *data, size_t length)
{
    if (length <= sizeof packet->bytes - packet->length)
        memcpy(packet->bytes + packet->length, data, length);
    packet->length += length <= sizeof packet->bytes - packet->length ? length : 0;
}

static void add_text(struct packet *packet, const char *text)
{
    size_t length = strlen(text);
    const unsigned char prefix[2] = {(unsigned char)(length >> 8), (unsigned char)length};

    add(packet, prefix, sizeof prefix);
    add(packet, text, length);
}

static int send_packet(struct tls *tls, unsigned char kind, const struct packet *packet)
{
    unsigned char head[3] = {kind, (unsigned char)packet->length, 0};
    size_t length = 2;

    if (packet->length > 127) { /* the remaining length, seven bits a byte */
        head[1] = (unsigned char)(packet->length & 127) | 128;
        head[length++] = (unsigned char)(packet->length >> 7);
    }
    return tls_write(tls, head, length) != 0 || tls_write(tls, packet->bytes, packet->length) != 0;
}

/* Both answers, CONNACK and PUBACK, have four bytes. */
static int is_answered(struct tls *tls, const unsigned char *expected)
{
    unsigned char got[4];
    size_t length = 0;
    int read;

    while (length < sizeof got && (read = tls_read(tls, got + length, sizeof got - length)) > 0)
        length += (size_t)read;
    return length == sizeof got && memcmp(got, expected, sizeof got) == 0;
}

enum publishing mqtt_publish(mbedtls_pk_context *key, const struct identity *identity, const char *leaf,
                             const char *payload)
{
    static const unsigned char connect_head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, KEEP_ALIVE_SECONDS};
    static const unsigned char connected[] = {0x20, 2, 0, 0}, published[] = {0x40, 2, 0, 1}, id[] = {0, 1};
    static struct packet packet;
    const struct settings *settings = port_settings();
    char topic[256], name[256];
    struct tls tls;
    enum publishing result = UNREACHABLE;
    int opened;

    snprintf(name, sizeof name, "%.*s", (int)strcspn(identity->endpoint, ":"), identity->endpoint);
    snprintf(topic, sizeof topic, "%s/%s/%s", settings->topic_prefix, identity->thing_name, leaf);
    opened = tls_open(&tls, settings->broker_host ? settings->broker_host : name,
                 settings->broker_port ? settings->broker_port : "8883", name, settings->broker_roots,
                      identity->certificate, key);
    if (opened == TLS_REFUSED)
        result = REFUSED;
    if (opened == 0) {
        result = REFUSED; /* unless both answers come: a broker may also refuse a certificate after the handshake */
        packet.length = 0;
        add(&packet, connect_head, sizeof connect_head);
        add_text(&packet, identity->thing_name);
        if (send_packet(&tls, 0x10, &packet) == 0 && is_answered(&tls, connected)) {
            packet.length = 0;
            add_text(&packet, topic);
            add(&packet, id, sizeof id);
            add(&packet, payload, strlen(payload));
            if (send_packet(&tls, 0x32, &packet) == 0 && is_answered(&tls, published))
                result = PUBLISHED;
            packet.length = 0;
            send_packet(&tls, 0xE0, &packet);
        }
    }
    tls_close(&tls);
    return result;
}
