/* An HTTP answer and its JSON, read byte by byte: a chain of any length is skipped and costs no memory. */
#include "device.h"
#include <string.h>
#include <strings.h>

enum { MOST_HEAD = 8192, MOST_BODY = 65536, MALFORMED = -1, TOO_LONG = 1 };

static int next_byte(struct answer *answer)
{
    if (answer->left == 0)
        return -1;
    if (answer->at == answer->have) {
        answer->at = 0;
        answer->have = tls_read(answer->tls, answer->buffer, sizeof answer->buffer);
        if (answer->have <= 0) {
            answer->have = 0;
            answer->left = 0;
            return -1;
        }
    }
    answer->left--;
    return answer->buffer[answer->at++];
}

/* One line without its end; the rest of a longer one is dropped. -1: the answer ended. */
static int read_line(struct answer *answer, char *line, size_t size)
{
    size_t length = 0;
    int byte;

    while ((byte = next_byte(answer)) != '\n') {
        if (byte < 0)
            return -1;
        if (byte != '\r' && length + 1 < size)
            line[length++] = (char)byte;
    }
    line[length] = 0;
    return (int)length;
}

/* A whole number of at most nine digits; 0 for anything else. */
static uint32_t number(const char *text)
{
    uint32_t value = 0;
    int digits;

    while (*text == ' ')
        text++;
    for (digits = 0; text[digits] >= '0' && text[digits] <= '9' && digits < 10; digits++)
        value = value * 10 + (uint32_t)(text[digits] - '0');
    return digits > 9 || text[digits] != 0 ? 0 : value;
}

int answer_head(struct answer *answer)
{
    char line[128];
    uint32_t body = 0;
    int length;

    answer->left = MOST_HEAD;
    if (read_line(answer, line, sizeof line) < 12 || strncmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ')
        return -1;
    line[12] = 0;
    answer->status = (int)number(line + 9);
    while ((length = read_line(answer, line, sizeof line)) > 0) {
        if (strncasecmp(line, "content-length:", 15) == 0)
            body = number(line + 15);
        if (strncasecmp(line, "retry-after:", 12) == 0)
            answer->retry_after = number(line + 12);
    }
    answer->left = body > MOST_BODY ? 0 : body;
    return length;
}

static int next_token(struct answer *answer)
{
    int byte;

    do
        byte = next_byte(answer);
    while (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n');
    return byte;
}

/* The byte that an escape stands for; 0 for one outside ASCII, which no value of the contract has. */
static int read_escape(struct answer *answer)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t", digits[] = "0123456789abcdef";
    int byte = next_byte(answer), code = 0, i;
    const char *found, *letter = byte > 0 ? strchr(letters, byte) : NULL;

    if (letter != NULL)
        return meant[letter - letters];
    if (byte != 'u')
        return MALFORMED;
    for (i = 0; i < 4; i++) {
        byte = next_byte(answer);
        found = byte > 0 ? strchr(digits, byte | 32) : NULL;
        if (found == NULL)
            return MALFORMED;
        code = code * 16 + (int)(found - digits);
    }
    return code < 128 ? code : 0;
}

/* The rest of a string after its quote. It is read to its end also where it does not fit. */
static int read_string(struct answer *answer, char *text, size_t size)
{
    size_t length = 0;
    int byte, result = 0;

    while ((byte = next_byte(answer)) != '"') {
        if (byte < ' ')
            return MALFORMED;
        if (byte == '\\' && (byte = read_escape(answer)) < 0)
            return MALFORMED;
        if (byte == 0 || byte > 127 || length + 1 >= size)
            result = TOO_LONG;
        else
            text[length++] = (char)byte;
    }
    if (size > 0)
        text[length] = 0;
    return result;
}

/* Skip a value that is no string; the token after it. */
static int skip_value(struct answer *answer, int byte)
{
    int depth = 0;

    for (; byte >= 0; byte = next_token(answer)) {
        if (byte == '"' && read_string(answer, NULL, 0) == MALFORMED)
            return MALFORMED;
        if (depth == 0 && (byte == ',' || byte == '}'))
            return byte;
        if (byte == '{' || byte == '[')
            depth++;
        if (byte == '}' || byte == ']')
            depth--;
        if (depth < 0)
            return MALFORMED;
    }
    return MALFORMED;
}

/* Read an object and keep the named members, each a string that occurs once. 0 on success. */
int answer_members(struct answer *answer, struct member *members, size_t count)
{
    char name[32];
    size_t i;
    int byte, result;

    if (next_token(answer) != '{')
        return -1;
    for (byte = next_token(answer); byte == '"'; byte = next_token(answer)) {
        result = read_string(answer, name, sizeof name);
        if (result == MALFORMED || next_token(answer) != ':')
            return -1;
        for (i = 0; i < count && (result == TOO_LONG || strcmp(name, members[i].name) != 0); i++)
            ;
        byte = next_token(answer);
        if (i < count) {
            if (byte != '"' || members[i].seen++ || read_string(answer, members[i].value, members[i].size) != 0)
                return -1;
            byte = next_token(answer);
        } else if (byte == '"') {
            if (read_string(answer, NULL, 0) == MALFORMED)
                return -1;
            byte = next_token(answer);
        } else {
            byte = skip_value(answer, byte);
        }
        if (byte == '}')
            return 0;
        if (byte != ',')
            return -1;
    }
    return -1;
}
