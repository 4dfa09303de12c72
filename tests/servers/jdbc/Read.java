import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.util.Properties;

/** Reads as a BI tool does: looks for schemas, tables and columns, prepares a statement, and fetches its rows. */
public class Read {
    public static void main(String[] args) throws Exception {
        String url = args[0], catalog = args[1], schema = args[2], table = args[3], query = args[4];
        Properties login = new Properties();
        login.setProperty("user", "bi");
        try (Connection connection = DriverManager.getConnection(url, login)) {
            try (ResultSet found = connection.getMetaData().getTables(catalog, schema, "%", new String[] {"TABLE"})) {
                while (found.next()) System.out.println("table\t" + found.getString("TABLE_NAME"));
            }
            try (ResultSet found = connection.getMetaData().getColumns(catalog, schema, table, "%")) {
                while (found.next()) {
                    System.out.println("column\t" + found.getString("COLUMN_NAME") + "\t" + found.getString("TYPE_NAME"));
                }
            }
            try (PreparedStatement statement = connection.prepareStatement(query)) {
                statement.setString(1, args[5]);
                ResultSet rows = statement.executeQuery();
                ResultSetMetaData columns = rows.getMetaData();
                while (rows.next()) {
                    StringBuilder line = new StringBuilder("row");
                    for (int at = 1; at <= columns.getColumnCount(); at++) {
                        Object value = rows.getObject(at);
                        line.append('\t').append(rows.wasNull() ? "NULL" : String.valueOf(value));
                    }
                    System.out.println(line);
                }
            }
        }
    }
}
