/* What a time server's client tells the kernel once it knows the time, as systemd-timesyncd does it: the clock is set, and is
 * disciplined from now on. `time-server SECONDS`, since 1970. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/timex.h>
#include <time.h>

int main(int count, char **arguments) {
    double now = count == 2 ? strtod(arguments[1], NULL) : 0;
    struct timespec clock = {.tv_sec = (time_t)now, .tv_nsec = (long)((now - (double)(time_t)now) * 1e9)};
    struct timex discipline = {.modes = ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR, .status = STA_PLL};
    /* Setting the clock makes the kernel forget that it was disciplined. */
    if (clock_settime(CLOCK_REALTIME, &clock) || adjtimex(&discipline) == -1) {
        perror("time-server");
        return 1;
    }
    return 0;
}
