import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;

import software.amazon.event.ruler.Machine;

/**
 * Answers for Event Ruler. A line on standard input is a pattern, an event, and any number of further patterns,
 * with tabs between. A line on standard output is the answer of the pattern, then that of the further ones taken
 * together: 1 matches, 0 does not, R refused, E the event is refused; - there are none.
 */
public final class Oracle {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] columns = line.split("\t", -1);
            char further = '-';
            for (int column = 2; column < columns.length; column++) {
                char answer = answer(columns[column], columns[1]);
                if (further == '-' || further == '0' || answer == 'R') {
                    further = answer;
                }
            }
            out.write(answer(columns[0], columns[1]));
            out.write(further);
            out.write('\n');
        }
        out.flush();
    }

    private static char answer(String pattern, String event) {
        Machine machine = new Machine();
        try {
            machine.addRule("rule", pattern);
        } catch (Exception | AssertionError refused) {
            return 'R';
        }
        try {
            return machine.rulesForJSONEvent(event).isEmpty() ? '0' : '1';
        } catch (Exception | AssertionError refused) {
            return 'E';
        }
    }
}
